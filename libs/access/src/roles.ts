/** What a caller may, from less to more; each may all that those before it may. */
export const ACCESS_ROLES = ['reader', 'operator', 'admin'] as const;

/** `reader`: queries. `operator`: commands, too, and looking at how the system stands. `admin`: everything. */
export type AccessRole = (typeof ACCESS_ROLES)[number];

export const includesRole = (has: AccessRole, needed: AccessRole): boolean =>
  ACCESS_ROLES.indexOf(has) >= ACCESS_ROLES.indexOf(needed);

export const isAccessRole = (value: unknown): value is AccessRole =>
  ACCESS_ROLES.some((role) => role === value);
