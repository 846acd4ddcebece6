import { Category, deciderOf, type KnownEvents } from '#lib/event-store';
import { conflict, notFound, type Timestamp } from '#lib/platform';
import { ClaimKind, slicesOn, type StreamType } from '#lib/waylog';

export type UserDetails = { readonly username: string; readonly email: string };

export type UserEvents = {
  UserCreated: UserDetails & { readonly at: Timestamp };
  UserUpdated: UserDetails & { readonly at: Timestamp };
  UserDeactivated: { readonly at: Timestamp };
  UserReactivated: { readonly at: Timestamp };
  /** Name and e-mail are gone for good. */
  UserErased: { readonly at: Timestamp };
};
export type UserEvent = {
  [Type in keyof UserEvents]: { readonly type: Type; readonly data: UserEvents[Type] };
}[keyof UserEvents];

/** The state of a user for decisions. */
export interface User {
  details: UserDetails | undefined;
  isActive: boolean;
  isErased: boolean;
}

const erased = { username: 'erased', email: 'erased' } as const;

const userEvents: KnownEvents = {
  sensitive: { UserCreated: erased, UserUpdated: erased },
  erasedBy: ['UserErased'],
};

export const userStream: StreamType<User, UserEvent> = {
  category: new Category('user'),
  key: 'userId',
  decider: deciderOf<User, UserEvent>({
    version: 1,
    initialState: () => ({ details: undefined, isActive: false, isErased: false }),
    evolve: (user, { type, data }) => {
      switch (type) {
        case 'UserCreated':
        case 'UserUpdated':
          user.details = { username: data.username, email: data.email };
          if (type === 'UserCreated') user.isActive = true;
          return user;
        case 'UserDeactivated':
          user.isActive = false;
          return user;
        case 'UserReactivated':
          user.isActive = true;
          return user;
        case 'UserErased':
          return { details: erased, isActive: false, isErased: true };
      }
    },
  }),
  eventTypes: new Set(['UserCreated', 'UserUpdated', 'UserDeactivated', 'UserReactivated', 'UserErased']),
  events: userEvents,
};

export const slice = slicesOn(userStream);

/** Each is unique among active users. */
export const usernames = new ClaimKind({
  name: 'video.user-name',
  refusal: (name) =>
    conflict('user.name-taken', `There is an active user called ${name}. Take another name.`),
});
export const emails = new ClaimKind({
  name: 'video.user-email',
  refusal: (email) => conflict('user.email-taken', `There is an active user with the address ${email}.`),
});

export const claimsOf = ({ username, email }: UserDetails) => [usernames.of(username), emails.of(email)];

export const userNotFound = (userId: string) =>
  notFound('user.not-found', `There is no user ${userId}. Create it first, or check the id.`, { userId });

/** The details of a user that can be changed. Throws `user.not-found` and `user.erased`. */
export function existingUser({ details, isErased }: User, userId: string): UserDetails {
  if (!details) throw userNotFound(userId);
  if (!isErased) return details;
  throw conflict('user.erased', `User ${userId} was erased, and does not change any more.`, { userId });
}
