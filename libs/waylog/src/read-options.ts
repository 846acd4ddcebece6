/** How current a read must be. */
export interface ReadOptions {
  /** Wait until the tables hold the log up to this position, which a command returned. */
  readonly minPosition?: string | undefined;
  /** Answer from the log as of an RFC 3339 time, or of a revision of the thing that is read. */
  readonly asOf?: string | null | undefined;
}
