// A broken invariant stops the group instead of letting it go on with a state that nobody has thought about: an assertion turns a
// correctness fault into a liveness fault, which the other sites can survive. Assertions stay on in production.

/** Facts that make a broken invariant readable in a log: plain values only. */
export type Facts = Readonly<Record<string, unknown>>;

/** A rule that the code relies on did not hold. The process that meets one stops (exit code 70); it never logs and goes on. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
  readonly facts: Facts;
  constructor(text: string, facts: Facts = {}) {
    super(`${text} ${JSON.stringify(facts)}`);
    this.facts = facts;
  }
}

/** Throws InvariantError unless the condition holds. One condition per call, with the facts that explain it. */
export function assert(condition: boolean, text: string, facts?: Facts): asserts condition {
  if (!condition) throw new InvariantError(text, facts);
}

/** Closes a switch over a union: reached only when a value is outside its type. */
export function unreachable(value: never): never {
  throw new InvariantError('a value outside its type', { value });
}
