import { existsSync, readdirSync, readFileSync } from 'node:fs';

const folders = ['apps', 'libs'].flatMap((folder) =>
  readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `${folder}/${name}`),
);

describe('nest-cli.json', () => {
  const { projects } = JSON.parse(readFileSync('nest-cli.json', 'utf8')) as {
    projects: Record<string, { type: string; root: string; sourceRoot: string; entryFile: string }>;
  };

  it('names each application and each library, so that nest start, build and generate find them', () => {
    expect(Object.values(projects).map(({ root }) => root)).toEqual(expect.arrayContaining(folders));
    expect(Object.keys(projects)).toHaveLength(folders.length);
  });

  it.each(Object.entries(projects))('gives the path of %s', (name, { type, root, sourceRoot, entryFile }) => {
    expect(root).toBe(`${type === 'application' ? 'apps' : 'libs'}/${name}`);
    expect(existsSync(`${sourceRoot}/${entryFile}.ts`)).toBe(true);
  });
});
