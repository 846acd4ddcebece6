const { readFileSync } = require('node:fs');

// Jest cannot require() ES modules before Node 24.9, so swc down-levels the packages that ship ESM only.
const esmOnly = [
  ...['@nestjs', '@noble', '@scure', 'age-encryption', 'content-disposition'],
  ...['cookie', 'jose', 'p-limit', 'uuid', 'yocto-queue'],
];

const swcrc = JSON.parse(readFileSync(`${__dirname}/.swcrc`, 'utf8'));
const base = {
  rootDir: __dirname,
  testEnvironment: 'node',
  testEnvironmentOptions: { customExportConditions: ['app-source', 'node', 'node-addons'] },
  setupFiles: ['reflect-metadata'],
  transform: {
    '^.+\\.[tj]s$': [
      '@swc/jest',
      { ...swcrc, module: { type: 'commonjs' }, swcrc: false, sourceMaps: 'inline' },
    ],
  },
  transformIgnorePatterns: [`/node_modules/(?!(?:.*/node_modules/)?(?:${esmOnly.join('|')})/)`],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
};
const roots = '<rootDir>/{apps,libs,migrations,test,bench}/**';

// The name of a test file says what it needs: .spec.ts nothing, .db.spec.ts a TimescaleDB, .e2e.spec.ts a running server.
module.exports = {
  // Ends only a test that hangs. How fast things are is measured in bench/, on a machine that does nothing else.
  testTimeout: 600_000,
  projects: [
    {
      ...base,
      displayName: 'unit',
      testMatch: [`${roots}/*.spec.ts`],
      testPathIgnorePatterns: ['/node_modules/', '\\.(db|e2e)\\.spec\\.ts$'],
    },
    { ...base, displayName: 'database', testMatch: [`${roots}/*.db.spec.ts`] },
    { ...base, displayName: 'e2e', testMatch: [`${roots}/*.e2e.spec.ts`] },
  ],
};
