import { Id, object, recorded, shape, text } from '#lib/rest';

// What the routes of the video context have in common.

/** The id of the video request in the path. */
export const RequestId = (): ParameterDecorator => Id('id', 'v1');
export const TaskId = (): ParameterDecorator => Id('taskId', 't1');
export const UserId = (): ParameterDecorator => Id('id', 'u1');

export const requestRecorded = recorded('videoRequestId', 'v1');
export const RequestRecorded = shape('VideoRequestRecorded', () => object(requestRecorded));
export const TaskRecorded = shape('TaskRecorded', () => object({ ...requestRecorded, taskId: text }));
export const UserRecorded = shape('UserRecorded', () => object(recorded('userId', 'u1')));
