import { conflict, IsEmailAddress, IsId, IsKnownId, Label, Nested } from '#lib/platform';
import type { Appended } from '#lib/event-store';
import { StreamCommand } from '#lib/waylog';
import { claimsOf, emails, existingUser, slice, usernames, userNotFound } from './user.js';

export class UserFields {
  @Label(100) readonly username!: string;
  @IsEmailAddress() readonly email!: string;
}

interface UserResult extends Appended {
  readonly userId: string;
}

abstract class UserCommand extends StreamCommand<UserResult> {
  @IsKnownId() readonly userId!: string;
}

export class CreateUser extends UserCommand {
  @IsId() override readonly userId!: string;
  @Nested(() => UserFields) readonly user!: UserFields;
}
export class UpdateUser extends UserCommand {
  @Nested(() => UserFields) readonly user!: UserFields;
}
/** Its name and address are free for others. */
export class DeactivateUser extends UserCommand {}
export class ReactivateUser extends UserCommand {}
/** Deletes name and address for good. */
export class EraseUser extends UserCommand {}

const claims = [usernames, emails];

export const createUser = slice(CreateUser, { claims }, ({ userId, user }, known, { at }) => {
  const { username, email } = user;
  if (known.details) throw conflict('user.already-exists', `There is a user ${userId} already.`, { userId });
  return {
    events: [{ type: 'UserCreated' as const, data: { username, email, at } }],
    takes: claimsOf(user),
  };
});

export const updateUser = slice(UpdateUser, { claims }, ({ userId, user }, known, { at }) => {
  const before = existingUser(known, userId);
  const { username, email } = user;
  if (before.username === username && before.email === email) return [];
  const events = [{ type: 'UserUpdated' as const, data: { username, email, at } }];
  if (!known.isActive) return { events };
  const given = claimsOf(user);
  const isStill = (one: { readonly kind: typeof usernames; readonly value: string }) =>
    given.some(({ kind, value }) => kind === one.kind && kind.keyOf(value) === kind.keyOf(one.value));
  return { events, takes: given, releases: claimsOf(before).filter((one) => !isStill(one)) };
});

export const deactivateUser = slice(DeactivateUser, { claims }, ({ userId }, known, { at }) => {
  existingUser(known, userId);
  if (!known.isActive) return [];
  return { events: [{ type: 'UserDeactivated' as const, data: { at } }], releases: 'all' as const };
});

export const reactivateUser = slice(ReactivateUser, { claims }, ({ userId }, known, { at }) => {
  const details = existingUser(known, userId);
  if (known.isActive) return [];
  return { events: [{ type: 'UserReactivated' as const, data: { at } }], takes: claimsOf(details) };
});

export const eraseUser = slice(EraseUser, ({ userId }, known, { at }) => {
  if (!known.details) throw userNotFound(userId);
  return known.isErased ? [] : [{ type: 'UserErased' as const, data: { at } }];
});
