import { Controller, Get, Inject, Post, Put } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsBoolean, IsInt, Max, Min } from 'class-validator';
import type pg from 'pg';
import { FreeText, IsId, IsOpaqueId, Optional, type Timestamp } from '#lib/platform';
import type { Row } from '#lib/projections';
import {
  Answers,
  Freshness,
  Needs,
  object,
  Operation,
  pageOf,
  Sender,
  shape,
  Tag,
  text,
  time,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import {
  AsOf,
  byPage,
  checked,
  newId,
  PageOf,
  query,
  QUERY_POOL,
  readPage,
  StreamReads,
  type CommandOptions,
  type Condition,
  type ContextPart,
  type Page,
  type PagedList,
  type ReadOptions,
} from '#lib/waylog';
import { UserId, UserRecorded } from '../rest.js';
import {
  createUser,
  CreateUser,
  deactivateUser,
  DeactivateUser,
  EraseUser,
  reactivateUser,
  ReactivateUser,
  updateUser,
  UpdateUser,
  UserFields,
} from './commands.js';
import { userNotFound } from './user.js';
import { users, usersTable } from './users.projection.js';

/** The reads of users. */
export class UserReads extends StreamReads {}

/** A user as it is stored. */
export interface UserView {
  readonly id: string;
  readonly username: string;
  readonly email: string;
  readonly isActive: boolean;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

const userView = (row: Row): UserView => ({
  id: row['id'] as string,
  username: row['username'] as string,
  email: row['email'] as string,
  isActive: row['is_active'] as boolean,
  createdAt: row['created_at'] as Timestamp,
  updatedAt: row['updated_at'] as Timestamp,
});

export class OfUser extends AsOf {
  @IsOpaqueId() readonly userId!: string;
}

/** Throws `user.not-found`. */
export class GetUser extends Query<UserView> {
  constructor(
    readonly userId: string,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetUser)
export class GetUserHandler implements IQueryHandler<GetUser> {
  constructor(private readonly reads: UserReads) {}

  async execute({ userId, options }: GetUser): Promise<UserView> {
    checked(OfUser, { userId, asOf: options.asOf });
    const one = { table: usersTable, where: { id: userId }, orderBy: ['id'] };
    const [row] = await this.reads.of(userId, options, (source) => source.select(one));
    if (!row) throw userNotFound(userId);
    return userView(row);
  }
}

export class UserFilter extends PageOf {
  /** The whole name, in its case. */
  @Optional() @FreeText(100) readonly username?: string | null | undefined;
  @Optional() @IsBoolean() readonly isActive?: boolean | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(1_000) readonly limit?: number | null | undefined;
}

/** Oldest first. */
export class ListUsers extends Query<Page<UserView>> {
  constructor(
    readonly filter: UserFilter = {},
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

const userList: PagedList = { table: usersTable, from: 'video.users t', orderBy: ['created_at', 'id'] };

@QueryHandler(ListUsers)
export class ListUsersHandler implements IQueryHandler<ListUsers> {
  constructor(
    private readonly reads: UserReads,
    @Inject(QUERY_POOL) private readonly pool: pg.Pool,
  ) {}

  async execute({ filter, options }: ListUsers): Promise<Page<UserView>> {
    checked(UserFilter, filter);
    await this.reads.live(options);
    const conditions: Condition[] = [
      ['t.username =', filter.username],
      ['t.is_active =', filter.isActive == null ? null : String(filter.isActive)],
    ];
    return this.reads.list(() => readPage(this.pool, userList, conditions, filter, userView));
  }
}

const userShape = {
  id: text,
  username: text,
  email: text,
  isActive: { type: 'boolean' },
  createdAt: time,
  updatedAt: time,
};
const UserShape = shape('User', () => object(userShape));
const UserPage = shape('UserPage', () => pageOf(object(userShape)));
const UserErased = shape('UserErased', () =>
  object(
    {
      userId: text,
      revision: { type: 'integer' },
      position: text,
      waits: {
        type: 'string',
        description: 'Only while the tables still hold what was erased: why, and what has to happen.',
      },
    },
    ['userId', 'revision', 'position'],
  ),
);

const getUser = query({
  query: GetUser,
  handler: GetUserHandler,
  parameters: OfUser,
  make: ({ userId }, options) => new GetUser(userId, options),
});

const listUsers = query({
  query: ListUsers,
  handler: ListUsersHandler,
  parameters: UserFilter,
  make: (filter, options) => new ListUsers(filter, options),
  weight: byPage,
});

/** Gets an id if it has none. */
class NewUser extends UserFields {
  @Optional() @IsId() readonly id?: string | null | undefined;
}

@Tag('video users')
@Controller('v1/video/users')
export class UsersController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Post()
  @Needs('operator')
  @Operation({ summary: 'Create a user' })
  @Answers(201, UserRecorded)
  create(@ValidBody(NewUser) { id, ...user }: NewUser, @Sender() sender: CommandOptions) {
    const userId = id ?? newId(sender.commandId, 'user');
    return this.commands.execute(new CreateUser({ ...sender, userId, user }));
  }

  @Get()
  @Needs('reader', listUsers)
  @Operation({ summary: 'List users' })
  @Answers(200, UserPage)
  list(@ValidQuery(UserFilter) filter: UserFilter, @Freshness() options: ReadOptions) {
    return this.queries.execute(new ListUsers(filter, options));
  }

  @Get(':id')
  @Needs('reader', getUser)
  @Operation({ summary: 'Read a user' })
  @Answers(200, UserShape)
  get(@UserId() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetUser(id, { ...options, asOf }));
  }

  @Put(':id')
  @Needs('operator')
  @Operation({ summary: 'Change name and address of a user' })
  @Answers(200, UserRecorded)
  update(
    @UserId() userId: string,
    @ValidBody(UserFields) user: UserFields,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new UpdateUser({ ...sender, userId, user }));
  }

  @Post(':id/deactivate')
  @Needs('operator')
  @Operation({ summary: 'Deactivate a user', description: 'Its name and address are free for others.' })
  @Answers(200, UserRecorded)
  deactivate(@UserId() userId: string, @Sender() sender: CommandOptions) {
    return this.commands.execute(new DeactivateUser({ ...sender, userId }));
  }

  @Post(':id/reactivate')
  @Needs('operator')
  @Operation({ summary: 'Reactivate a user' })
  @Answers(200, UserRecorded)
  reactivate(@UserId() userId: string, @Sender() sender: CommandOptions) {
    return this.commands.execute(new ReactivateUser({ ...sender, userId }));
  }

  @Post(':id/erase')
  @Needs('admin')
  @Operation({ summary: 'Erase name and address of a user', description: 'For good.' })
  @Answers(200, UserErased)
  erase(@UserId() userId: string, @Sender() sender: CommandOptions) {
    return this.commands.execute(new EraseUser({ ...sender, userId }));
  }
}

export const usersPart: ContextPart = {
  commands: [createUser, updateUser, deactivateUser, reactivateUser],
  projections: [users],
  queries: [getUser, listUsers],
  controllers: [UsersController],
};
