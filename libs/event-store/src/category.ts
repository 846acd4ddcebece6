import { WaylogError } from '#lib/platform';

const NAME = /^[a-z][a-z0-9]*$/;

/** A kind of stream, such as `flight` for the streams `flight-<id>`. Only this reads and writes the ids of streams. */
export class Category {
  readonly #prefix: string;

  /** `name` is a lower-case word. It has no hyphen: a stream id is split at its first one. */
  constructor(readonly name: string) {
    if (!NAME.test(name))
      throw new Error(`${JSON.stringify(name)} is no category: it must match ${String(NAME)}`);
    this.#prefix = `${name}-`;
  }

  /** The stream of the thing with this id. */
  streamOf(id: string): string {
    return this.#prefix + id;
  }

  includes(streamId: string): boolean {
    return streamId.startsWith(this.#prefix);
  }

  /** The id of the thing whose stream this is. Throws `stream.of-another-category`. */
  idOf(streamId: string): string {
    if (this.includes(streamId)) return streamId.slice(this.#prefix.length);
    throw new WaylogError(
      'stream.of-another-category',
      'invalid',
      `${streamId} is no stream of the category ${this.name}: its streams are called ${this.#prefix}<id>.`,
      { streamId },
    );
  }
}

/** The name of the category that a stream id begins with; undefined if there is none. */
export function categoryOf(streamId: string): string | undefined {
  const end = streamId.indexOf('-');
  return end > 0 ? streamId.slice(0, end) : undefined;
}
