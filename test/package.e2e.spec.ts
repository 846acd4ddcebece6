import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** What stands in the package, and nothing else: code, its maps, its declarations, and what its messages name. */
const HOLDS = [
  /^(package\.json|README\.md|CHANGELOG\.md|SECURITY\.md|LICENSE)$/,
  /^dist\/(apps\/(cli|server)\/src|apps|exports|migrations|libs\/[a-z-]+\/src)\/(?!.*(testing\/|\.(spec|contract)\.)).*\.(js|js\.map|d\.ts)$/,
  /^docs\/[a-z/-]*[\w.-]+\.md$/,
  /^deploy\/((grafana|prometheus|systemd)\/[a-z.-]+|tracing\.mjs)$/,
];

describe('the package', () => {
  const packed = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--loglevel=error'], { encoding: 'utf8' }),
  ) as [{ files: { path: string }[]; size: number }];
  const [{ size }] = packed;
  const files = packed[0].files.map(({ path }) => path);

  it('holds what an application needs, and nothing that only we need', () => {
    expect(files.filter((path) => !HOLDS.some((pattern) => pattern.test(path)))).toEqual([]);
    for (const library of readdirSync('libs')) expect(files).toContain(`dist/libs/${library}/src/index.js`);
  });

  it('holds what it exports, and its command line', () => {
    const { exports, bin } = JSON.parse(readFileSync('package.json', 'utf8')) as {
      exports: Record<string, string | { default: string }>;
      bin: Record<string, string>;
    };
    const named = Object.values(exports).map((target) =>
      typeof target === 'string' ? target : target.default,
    );
    for (const path of [...named, ...Object.values(bin)]) expect(files).toContain(path.replace(/^\.\//, ''));
    expect(Object.keys(exports)).toEqual(
      expect.arrayContaining(
        readdirSync('exports').map((file) => `./${file.replace('.ts', '')}`.replace('./kernel', '.')),
      ),
    );
    expect(readFileSync('dist/apps/cli/src/main.js', 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
  });

  it('is small', () => {
    expect(size).toBeLessThan(3_000_000);
  });

  it('holds every page that its messages name', () => {
    const named = new Set<string>();
    for (const path of files.filter((file) => file.endsWith('.js')))
      for (const [page] of readFileSync(path, 'utf8').matchAll(/\bdocs\/[a-z/-]+\/[\w-]+\.md/g))
        named.add(page);
    expect([...named].filter((page) => !existsSync(page) || !files.includes(page))).toEqual([]);
    expect(named.size).toBeGreaterThan(5);
  });
});
