// What is wrong with a witness that answers and is not believed, and the way out, in words.

import type { WitnessDesk } from '../arbiter/ask.ts';
import { unreachable } from '../base/assert.ts';

/** null while the witness is believed, or does not answer. */
export function witnessTrouble(desk: WitnessDesk, group: string): { readonly cause: string; readonly next: string } | null {
  const { trouble } = desk;
  if (trouble === null) return desk.moving ? { cause: 'a new witness is being told what this copy is', next: 'it begins to grant' } : null;
  const replace = `\`tercet witness replace ${group}\` has the copies believe the one that answers`;
  switch (trouble.kind) {
    case 'foreign':
      return {
        cause: 'another witness answers than before, and is not believed',
        next: `bring the old one back on its own folder, or, if it is lost, ${replace}`,
      };
    case 'deleted':
      return {
        cause: 'this group was deleted, and its copies serve no more',
        next: `stop this daemon, and \`tercet delete ${group}\` removes the copy here`,
      };
    case 'empty':
      return {
        cause: 'the witness has forgotten this group, and is not believed',
        next: `give it its own folder back, or, if that is lost, ${replace}`,
      };
    case 'rolled-back':
      return {
        cause: `the witness was put back to an older state (revision ${trouble.found}, and it has told ${trouble.known}), and is not believed`,
        next: replace,
      };
    case 'refused':
      return {
        cause: `the witness does not take this copy's report: ${trouble.why}`,
        next: 'look at `tercet witness status`, and name the right one',
      };
    case 'unseeded':
      if (!desk.moving) return { cause: 'the witness was replaced, restored or put back, and grants nothing', next: replace };
      return trouble.missing.length === 0
        ? { cause: 'the new witness is hearing the copies', next: 'it begins to grant' }
        : {
            cause: `the new witness grants nothing before ${trouble.missing.join(' and ')} has reported`,
            next: `\`tercet witness replace ${group}\` there, or an operator names the survivor with \`tercet promote --force\``,
          };
    default:
      return unreachable(trouble);
  }
}
