/** The public hosts that the program may talk to, all in one place; each only when it is asked to. */

/** The Hugging Face Hub, where HF_ENDPOINT names no other. */
export const HUB_ENDPOINT = 'https://huggingface.co';
