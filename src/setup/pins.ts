/**
 * The one PyTorch that set-up installs, and the wheels it consists of, locked by their SHA-256.
 *
 * The ordinary Linux wheel holds CUDA code but not CUDA itself. Its libtorch_cpu.so links against two small
 * CUDA libraries, of the versions that the wheel's own requirements (cuda-toolkit 13.2.2) lead to; with a GPU
 * all of the CUDA libraries named there are needed. What only PyTorch's Python code imports is left out.
 * A wheel's Python version does not matter here, since no Python loads it.
 */

/** Pythons' PyTorch older than this lack operators in use; newer ones than NEWEST_TORCH are not tested. */
export const OLDEST_TORCH = '2.9';
export const NEWEST_TORCH = '2.15';
export const PINNED_TORCH = '2.15.0';
/** The Python version whose wheel is taken. */
export const WHEEL_PYTHON = '3.12';

/** One wheel: its name and version on the package index, its size, and the hash that it must have. */
export interface Pin {
  name: string;
  version: string;
  sha256: string;
  bytes: number;
}

/** The wheels for one kind of machine. `platforms` are the tags that pip may choose from. */
export interface WheelSet {
  platforms: readonly string[];
  cpu: readonly Pin[];
  /** What a GPU needs beyond `cpu`. */
  cuda: readonly Pin[];
}

const pin = (name: string, version: string, bytes: number, sha256: string): Pin => ({
  name,
  version,
  bytes,
  sha256,
});

const manylinux = (arch: string): string[] => [
  ...[28, 27, 26, 25, 24, 18, 17, 12, 5].map((minor) => `manylinux_2_${minor}_${arch}`),
  ...['2014', '2010', '1'].map((year) => `manylinux${year}_${arch}`),
];

/** By `platform-arch` of Node. */
export const WHEELS: Readonly<Record<string, WheelSet>> = {
  'linux-x64': {
    platforms: manylinux('x86_64'),
    cpu: [
      pin('torch', '2.15.0', 539172785, '6d8c86f4e33a9f12a58149bd9b0d64351632b8eb44479be8ff85e5389932dd79'),
      pin(
        'nvidia-cuda-runtime',
        '13.2.86',
        2323576,
        '3498247680dfddce31bad102af7e3e26fc795342a3cac64722bb0fa95e7f60f0',
      ),
      pin(
        'nvidia-cuda-cupti',
        '13.2.86',
        11988600,
        '8fa29f15dd8336181f961764d9d95236fc6b931dd0c8fcf8cd70aab0c310b586',
      ),
    ],
    cuda: [
      pin(
        'nvidia-cublas',
        '13.4.1.3',
        404870805,
        'a5917cb642cfb07f4a0231ee16aec7e2e0357d8cb8b1b78a0c9c68dba3e6afc7',
      ),
      pin(
        'nvidia-cuda-nvrtc',
        '13.2.86',
        47018468,
        '8111c5130e967b78222ea2124145f8efe9ce201b752b2579a2513100a53be1c5',
      ),
      pin(
        'nvidia-cudnn-cu13',
        '9.26.0.51',
        519150073,
        '9c976d539786698c71d6bcdbe2053b7485fae062ff7e1215d2f2ff67b1a2149a',
      ),
      pin(
        'nvidia-cufft',
        '12.2.0.57',
        218258101,
        '34da27fadf3979b0b042c43823f0530be8408b86df31ee0108e1ca0b621d4ef6',
      ),
      pin(
        'nvidia-cufile',
        '1.17.1.22',
        1387670,
        '87feaf8c3ad20d3d03a01933181801ff6892bace5c8f0b1e4b48f319d3e62d36',
      ),
      pin(
        'nvidia-cusolver',
        '12.2.0.11',
        227913465,
        'fab5778f6769947389a1a6abc07e635576825a08c0ffc68c3ae7f1392c794b42',
      ),
      pin(
        'nvidia-cusparse',
        '12.7.10.12',
        150999307,
        '25907c75e4db1581685f06f61cc6cdecc04611765516a52373e0a18ebd69fa00',
      ),
      pin(
        'nvidia-cusparselt-cu13',
        '0.8.1',
        170148586,
        '786ce87568c303fadb5afcc7102d454cd3040d75f6f8626f5db460d1871f4dd0',
      ),
      pin(
        'nvidia-nccl-cu13',
        '2.30.7',
        215965170,
        'cefa7fdb9710efd0f39c5f1be1d61ff6fc9a996c451265bd7fbdcf9455ed4b50',
      ),
      pin(
        'nvidia-nvjitlink',
        '13.5.37',
        46642491,
        '280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb',
      ),
      pin(
        'nvidia-nvshmem-cu13',
        '3.7.2',
        135397797,
        'b9a4f843c62b5dded8ad33fd6d220e007dcd39f06cee549292f5ba14ce4c235c',
      ),
      pin(
        'nvidia-nvtx',
        '13.2.86',
        153463,
        '968ce72baee2a01791c7d3254000eac81f24677b0b91c62d21b449a1f309c245',
      ),
    ],
  },
  'linux-arm64': {
    platforms: manylinux('aarch64'),
    cpu: [
      pin('torch', '2.15.0', 483664949, '9e51cf9460c5441dcd2a4f31ece207e35ea7c3d2535be0f929cca4944e2eeb18'),
      pin(
        'nvidia-cuda-runtime',
        '13.2.86',
        2341433,
        '37844957894bfdecf90243568d21a2cb251b66106915b71459a23c8e6ef2da69',
      ),
      pin(
        'nvidia-cuda-cupti',
        '13.2.86',
        11760263,
        'd9a5c133f73fcb9013f3ada0da6fb54d4117618d81f3f5a0419417ea6ee829d4',
      ),
    ],
    cuda: [
      pin(
        'nvidia-cublas',
        '13.4.1.3',
        513048232,
        '4eb1472bf92b741e7cf24da7978dde251b58ddec2092d9f6a04f3623eb4e9a15',
      ),
      pin(
        'nvidia-cuda-nvrtc',
        '13.2.86',
        44755454,
        '1e5d7b411a2eb83f5c71c98d58133a763fc9fa86a4241ee320c5c4782d9ad1fd',
      ),
      pin(
        'nvidia-cudnn-cu13',
        '9.26.0.51',
        595329497,
        '8e5b4f5eccff721416f70ecf4353172fc4d5cdd8ca869fe6f983a4a5b0147b20',
      ),
      pin(
        'nvidia-cufft',
        '12.2.0.57',
        218244742,
        '1ed438568ae1088ba2c25789d10205d4104b8b140b7bd942e39a787947a0fb74',
      ),
      pin(
        'nvidia-cufile',
        '1.17.1.22',
        1226736,
        'bec33d7f1f12691dce330275246587569c2ed90b1ce43b0f94b3e1ce9268744b',
      ),
      pin(
        'nvidia-cusolver',
        '12.2.0.11',
        250383075,
        '8be097fca28de6be0990ab216ee9b804dd51077e1d1d83acf6c9850650bdc64d',
      ),
      pin(
        'nvidia-cusparse',
        '12.7.10.12',
        169043093,
        '597eff2cd83e3ab1d1e3a0dce9c9c879d77cf64ec2659bfdb5af6a5d02e7aaa9',
      ),
      pin(
        'nvidia-cusparselt-cu13',
        '0.8.1',
        221051344,
        '4dca476c50bf4780d46cd0bfbd82e2bc10a08e4fef7950917ce8d7578d22a23f',
      ),
      pin(
        'nvidia-nccl-cu13',
        '2.30.7',
        215983881,
        'ca786ffa5a647c75d4d1f5cc72a6c4f537947e2ba8823d7c8aaf768e7a7b9f77',
      ),
      pin(
        'nvidia-nvjitlink',
        '13.5.37',
        45253761,
        '893f6f9a55b2720ed94913b5ba3332e972da8c78dfa2863d0244403dbd528ffc',
      ),
      pin(
        'nvidia-nvshmem-cu13',
        '3.7.2',
        135174619,
        '0e748308b9e0a8a8d81859353f3e6c98fbe85a85f652a915a2ba60149a0bd124',
      ),
      pin(
        'nvidia-nvtx',
        '13.2.86',
        154292,
        '1c6ae1be92fba569dd271f7b9b3056f99f5642726dc6c53d1b93ae4110c398fb',
      ),
    ],
  },
  'darwin-arm64': {
    platforms: ['macosx_14_0_arm64'],
    cpu: [
      pin('torch', '2.15.0', 138558517, '593e5fd0c204284890d1c3dff643be34e549e1d24523e13402510f960d4da438'),
    ],
    cuda: [],
  },
};
