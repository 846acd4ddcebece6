/** The configuration of the process (`Config` of #lib/platform), for injection. */
export const CONFIG = Symbol('CONFIG');
