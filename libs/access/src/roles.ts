/** The roles of callers, from fewer to more rights; each has all rights of those before it. */
export const ACCESS_ROLES = ['reader', 'operator', 'admin'] as const;

/** `reader`: queries. `operator`: commands too, and the state of the system. `admin`: everything. */
export type AccessRole = (typeof ACCESS_ROLES)[number];

export const includesRole = (has: AccessRole, needed: AccessRole): boolean =>
  ACCESS_ROLES.indexOf(has) >= ACCESS_ROLES.indexOf(needed);

export const isAccessRole = (value: unknown): value is AccessRole =>
  ACCESS_ROLES.some((role) => role === value);
