import { knownEventsOf } from '#lib/event-store';
import { flight } from '../context.js';
import { created, event, given, NOW } from '../testing/given.js';
import { StoreImageContent, storeImageContent } from './store-image-content.js';

const content = { sha256: 'ab'.repeat(32), size: 1_000, type: 'image/jpeg' };
const image = { frameId: 1, filePath: 'p', metadata: { width: 6_000 }, uploadedAt: NOW };
const saved = event('ImageMetadataSaved', image);
const stored = event('ImageContentStored', { frameId: 1, ...content, storedAt: NOW });
const storing = (of = content) => {
  const command = new StoreImageContent({ flightId: 'f 1', frameId: 1, content: of });
  return (state: Parameters<typeof storeImageContent.decide>[1]) =>
    storeImageContent.decide(command, state, { at: NOW, reads: {} });
};

describe('the content of an image', () => {
  it('is recorded beside what is known of the image', () => {
    given(created, saved).when(storing()).then(stored);
  });

  it('gives an image of which nothing was known the path that leads to it', () => {
    const filePath = '/v1/flights/f%201/images/1/content';
    const made = event('ImageMetadataSaved', { ...image, filePath, metadata: {} });
    given(created).when(storing()).then(made, stored);
  });

  it('is no news the second time, and news when it is another one', () => {
    given(created, saved, stored).when(storing()).thenNothing();
    const other = { ...content, sha256: 'cd'.repeat(32) };
    given(created, saved, stored)
      .when(storing(other))
      .then(event('ImageContentStored', { frameId: 1, ...other, storedAt: NOW }));
  });

  it('goes with the image', () => {
    const removed = event('ImageRemoved', { frameId: 1 });
    given(created, saved, stored, removed, saved).when(storing()).then(stored);
  });

  it('is for flights that are there, and not erased', () => {
    given().when(storing()).thenRefused('flight.not-found');
    given(created, event('FlightErased', { details: created.data as never }))
      .when(storing())
      .thenRefused('flight.erased');
  });

  it('is a file that its event needs', () => {
    const files = knownEventsOf(flight.vocabulary, 'flight-f1')?.files;
    expect(files?.['ImageContentStored']?.({ ...content })).toEqual([content.sha256]);
  });
});
