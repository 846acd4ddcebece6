/** The key of the servers of tests, which may everything. */
export const ADMIN_KEY = 'the-admin-key-of-tests-which-is-no-secret';
