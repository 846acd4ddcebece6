/** The key of the servers of tests, with all rights. */
export const ADMIN_KEY = 'the-admin-key-of-tests-which-is-no-secret';
