import { MaxLength, MinLength } from 'class-validator';
import { IsText } from './validation.js';

/** Several decorators of a field as one. */
export const all =
  (...decorators: PropertyDecorator[]): PropertyDecorator =>
  (target, property) => {
    for (const decorate of decorators) decorate(target, property);
  };

/** Text of limited length that must not be empty. */
export const Label = (max: number): PropertyDecorator => all(IsText(), MinLength(1), MaxLength(max));

/** Text of limited length. */
export const FreeText = (max: number): PropertyDecorator => all(IsText(), MaxLength(max));

/** Lower-case words with hyphens between, as in the names of reactors and webhooks. */
export const HYPHENATED = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;
