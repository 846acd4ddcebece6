/** The configuration of the server, for injection. */
export const CONFIG = Symbol('CONFIG');
