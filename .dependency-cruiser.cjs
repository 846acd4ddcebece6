// The rules of the house (docs/decisions/0008): which way dependencies point, and what the pure middle may know.

// The libraries that know no context. Every other folder of libs is one, also one that does not exist yet.
const ground = 'platform|event-store|projections|reactors|webhooks|timescale|files|audit|backup|access';
const kernel = `${ground}|waylog|rest`;

// Everything in a context is pure but what stands at its edge: its declaration, handlers, queries, followers, and the port classes.
const edge =
  '(\\.api\\.ts|\\.follower\\.ts|/context\\.ts|/demo\\.ts|/cli/.*|/rest\\.ts|/flight-database\\.ts|/flight-reads\\.ts|/command\\.ts|/index\\.ts)$';
const tests = '(\\.spec\\.ts|\\.contract\\.ts|/testing/)';

module.exports = {
  forbidden: [
    {
      name: 'domain-is-pure',
      comment: 'Decisions, events and folds import neither NestJS nor pg, nor anything else that does I/O.',
      severity: 'error',
      from: { path: `^libs/(?!(${kernel})/)[^/]+/src`, pathNot: [edge, tests, '^libs/flight/src/ulog/'] },
      to: {
        path: ['^node_modules/(@nestjs|pg|typeorm|fastify)', '^(node:)?(fs|net|http|child_process)(/|$)'],
      },
    },
    {
      name: 'kernel-knows-no-context',
      severity: 'error',
      from: { path: `^libs/(${kernel})/`, pathNot: tests },
      to: { path: [`^libs/(?!(${kernel})/)`, '^(apps|migrations)/'], pathNot: '^migrations/index\\.ts$' },
    },
    {
      name: 'kernel-knows-no-framework',
      comment: 'NestJS stands at the edge: in libs/waylog, in contexts and in the applications.',
      severity: 'error',
      from: { path: `^libs/(${ground})/`, pathNot: tests },
      to: { path: '^node_modules/@nestjs' },
    },
    {
      name: 'ground-knows-no-application',
      comment: 'What stands below NestJS imports nothing of what stands above it, and HTTP stands on top.',
      severity: 'error',
      from: { path: `^libs/(${ground})/` },
      to: { path: '^libs/(waylog|rest)/' },
    },
    {
      name: 'waylog-knows-no-http',
      severity: 'error',
      from: { path: '^libs/waylog/' },
      to: { path: '^libs/rest/' },
    },
    {
      name: 'platform-is-the-ground',
      severity: 'error',
      from: { path: '^libs/platform/' },
      to: { path: '^(apps|migrations|libs/(?!platform))' },
    },
    {
      name: 'store-knows-no-projections',
      severity: 'error',
      from: { path: '^libs/event-store/' },
      to: { path: '^libs/(projections|timescale)' },
    },
    {
      name: 'timescale-stands-alone',
      severity: 'error',
      from: { path: '^libs/timescale/' },
      to: { path: '^libs/(event-store|projections)' },
    },
    {
      name: 'libs-know-no-apps',
      severity: 'error',
      from: { path: '^(libs|migrations)/' },
      to: { path: '^apps/' },
    },
    {
      name: 'exports-are-for-others',
      severity: 'error',
      from: { path: '^(apps|libs|migrations)/' },
      to: { path: '^exports/' },
    },
    {
      name: 'no-context-imports-another',
      severity: 'error',
      from: { path: `^libs/(?!(?:${kernel})/)([^/]+)/` },
      to: { path: `^libs/(?!(${kernel})/)`, pathNot: '^libs/$1/' },
    },
    {
      name: 'apps-know-no-context',
      comment: 'apps/contexts.ts is the only place that lists contexts.',
      severity: 'error',
      from: { path: '^(apps/(?!contexts\\.ts)|migrations/)', pathNot: tests },
      to: { path: `^libs/(?!(${kernel})/)` },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-orphans',
      severity: 'error',
      from: { orphan: true, pathNot: ['\\.d\\.ts$', tests, '(^|/)main\\.ts$', '^bench/'] },
      to: {},
    },
    { name: 'nothing-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'tests-stay-out-of-the-product',
      severity: 'error',
      from: { path: '^(apps|libs|migrations)/', pathNot: tests },
      to: { path: ['^test/', '\\.spec\\.ts$', '\\.contract\\.ts$', '/testing/'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    // What these import is there only where `npm run bench` has run, and in applications of their own.
    exclude: { path: ['^bench/peers/packages\\.mjs$', '^test/hosts/'] },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      conditionNames: ['app-source', 'import', 'require', 'node', 'default'],
      exportsFields: ['exports'],
    },
  },
};
