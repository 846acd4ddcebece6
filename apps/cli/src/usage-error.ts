/** The command was called wrongly; ends with exit code 2. */
export class UsageError extends Error {}
