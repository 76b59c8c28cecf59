/** MMLU: 57 subjects in four groups, four choices, answered by a letter. */
import { z } from 'zod';
import { strip } from '../python/text.js';
import { fieldsOf, type Group, type Task } from './task.js';

/** The harness's four groups in its order, and their subjects. */
const SUBJECTS = {
  stem: `abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science
    college_mathematics college_physics computer_security conceptual_physics electrical_engineering
    elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science
    high_school_mathematics high_school_physics high_school_statistics machine_learning`,
  other: `business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing
    medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology`,
  social_sciences: `econometrics high_school_geography high_school_government_and_politics
    high_school_macroeconomics high_school_microeconomics high_school_psychology human_sexuality
    professional_psychology public_relations security_studies sociology us_foreign_policy`,
  humanities: `formal_logic high_school_european_history high_school_us_history high_school_world_history
    international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory
    professional_law world_religions`,
} as const;

const schema = z.looseObject({
  question: z.string(),
  choices: z.array(z.string()).length(4),
  answer: z.int().min(0).max(3),
});

const LETTERS = ['A', 'B', 'C', 'D'] as const;

function subjectTask(subject: string): Task {
  return {
    name: `mmlu_${subject}`,
    alias: subject,
    version: 1,
    output: 'multiple_choice',
    set: { names: ['mmlu'], hub: 'cais/mmlu' },
    subject,
    test: 'test',
    shots: { split: 'dev', sampling: 'first' },
    description: `The following are multiple choice questions (with answers) about ${subject.replaceAll('_', ' ')}.\n\n`,
    metrics: ['acc'],
    chance: 0.25,
    example(row) {
      const { question, choices, answer } = fieldsOf(row, schema);
      const lines = LETTERS.map((letter, i) => `${letter}. ${choices[i]}`);
      return { text: `${strip(question)}\n${lines.join('\n')}\nAnswer:`, choices: LETTERS, gold: answer };
    },
  };
}

const listed = Object.entries(SUBJECTS).map(([group, text]) => ({ group, subjects: text.split(/\s+/) }));

export const mmluTasks: readonly Task[] = listed.flatMap(({ subjects }) => subjects.map(subjectTask));

export const mmluGroups: readonly Group[] = [
  { name: 'mmlu', alias: 'mmlu', version: 2, members: listed.map(({ group }) => `mmlu_${group}`) },
  ...listed.map(({ group, subjects }) => ({
    name: `mmlu_${group}`,
    alias: group.replace('_', ' '),
    version: 2,
    members: subjects.map((subject) => `mmlu_${subject}`),
  })),
];
