import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { flight } from '#lib/flight';
import { declaredBy, fileAbove } from './application.js';

describe('the configuration of an application', () => {
  it('is the nearest one, in the folder or above it', () => {
    const folder = mkdtempSync(join(tmpdir(), 'waylog-config-'));
    const [inner, empty] = [join(folder, 'a', 'b'), join(folder, 'c')];
    for (const one of [inner, empty]) mkdirSync(one, { recursive: true });
    for (const one of [folder, inner]) writeFileSync(join(one, 'waylog.config.mjs'), '');
    const names = ['waylog.config.js', 'waylog.config.mjs'];
    expect(fileAbove(inner, names)).toBe(join(inner, names[1] as string));
    expect(fileAbove(empty, names)).toBe(join(folder, names[1] as string));
    expect(fileAbove(empty, [`of-no-folder-${process.pid}`])).toBeUndefined();
    rmSync(folder, { recursive: true });
  });

  it('names contexts', () => {
    expect(declaredBy({ default: { contexts: [flight] } })).toEqual([flight]);
  });

  it.each([
    ['nothing', {}, /export default \{ contexts/],
    ['no contexts', { default: { contexts: [] } }, /export default \{ contexts/],
    ['contexts under no default', { contexts: [flight] }, /export default \{ contexts/],
    [
      'what is none',
      { default: { contexts: [flight, { name: 'survey' }] } },
      /number 2 of its contexts is none/,
    ],
  ])('is refused with %s', (_, module, message) => {
    expect(() => declaredBy(module)).toThrow(message);
  });
});
