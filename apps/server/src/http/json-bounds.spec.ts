import fc from 'fast-check';
import { beyondBounds, JSON_BOUNDS } from './json-bounds.js';

const bytes = (text: string) => Buffer.from(text);

describe('the structure of a body', () => {
  it('is within the limits for the largest list that a command accepts', () => {
    const frame = {
      frameId: 1,
      gpsCenter: { lat: 1, lon: 2 },
      altitude: 1,
      heading: 1,
      confidence: 1,
      refined: true,
      timestamp: '2026-05-01T12:00:00.000Z',
    };
    expect(beyondBounds(bytes(JSON.stringify(Array(5_000).fill(frame))))).toBeUndefined();
  });

  it.each([
    ['values', `[${'{},'.repeat(JSON_BOUNDS.values)}1]`, 'values'],
    ['values of one list', `[${'1,'.repeat(JSON_BOUNDS.values)}1]`, 'values'],
    ['fields', `[${'{"a":1},'.repeat(JSON_BOUNDS.names)}{"a":1}]`, 'fields'],
    [
      'fields of one object',
      JSON.stringify({
        parameters: Object.fromEntries(Array.from({ length: 1_001 }, (_, i) => [`k${i}`, 1])),
      }),
      'an object with more than 1000 fields',
    ],
    ['levels', '['.repeat(JSON_BOUNDS.depth + 1), 'levels'],
  ])('must not have more %s than the limit', (_, json, what) => {
    expect(beyondBounds(bytes(json))).toContain(what);
  });

  it('counts the fields of each object separately, whatever it contains', () => {
    const wide = Object.fromEntries(
      Array.from({ length: JSON_BOUNDS.fields }, (_, i) => [`k${i}`, { a: 1 }]),
    );
    expect(beyondBounds(bytes(JSON.stringify([wide, { b: wide }])))).toBeUndefined();
    expect(beyondBounds(bytes(JSON.stringify([wide, { b: { ...wide, more: 1 } }])))).toContain('an object');
  });

  it('is counted outside of texts only', () => {
    const text = JSON.stringify({ text: '[{,:"\\'.repeat(JSON_BOUNDS.values) });
    expect(beyondBounds(bytes(text))).toBeUndefined();
    // An escaped quote does not end a text, an escaped backslash before a quote does.
    expect(beyondBounds(bytes(`["\\"${'['.repeat(100)}"]`))).toBeUndefined();
    expect(beyondBounds(bytes(`["\\\\",${'['.repeat(100)}`))).toContain('levels');
  });

  it('is counted without an error for text that is not JSON', () => {
    fc.assert(fc.property(fc.uint8Array(), (any) => (beyondBounds(any), true)));
    expect(beyondBounds(bytes('}}]]"\\'))).toBeUndefined();
  });
});
