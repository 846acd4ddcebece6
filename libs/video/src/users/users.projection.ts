import { Projection, update, upsert, type TableDefinition } from '#lib/projections';
import { userStream, type UserEvents } from './user.js';

export const usersTable: TableDefinition = {
  source: 'libs/video/src/users/users.projection.ts',
  schema: 'video',
  name: 'users',
  comment: 'Who asks for videos. Names and addresses are unique among active users.',
  columns: {
    id: 'text',
    username: 'text',
    email: 'text',
    created_at: 'timestamptz',
    updated_at: 'timestamptz',
    is_active: 'boolean',
  },
  key: ['id'],
  indexes: { users_created_at: ['created_at', 'id'], users_username: ['username'] },
  erasable: ['username', 'email'],
};

const keyOf = ({ streamId }: { readonly streamId: string }) => ({ id: userStream.category.idOf(streamId) });

export const users = new Projection<UserEvents>('users', 1, usersTable)
  .on('UserCreated', (event) => {
    const { username, email, at } = event.data;
    return upsert({ ...keyOf(event), username, email, created_at: at, updated_at: at, is_active: true });
  })
  .on('UserUpdated', (event) => {
    const { username, email, at } = event.data;
    return update(keyOf(event), { username, email, updated_at: at });
  })
  .on('UserDeactivated', (event) => update(keyOf(event), { is_active: false, updated_at: event.data.at }))
  .on('UserReactivated', (event) => update(keyOf(event), { is_active: true, updated_at: event.data.at }))
  .on('UserErased', (event) =>
    update(keyOf(event), {
      username: 'erased',
      email: 'erased',
      is_active: false,
      updated_at: event.data.at,
    }),
  );
