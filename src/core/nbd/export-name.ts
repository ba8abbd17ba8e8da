// Names of exports with what is wanted of them: "GROUP/VOLUME", or "GROUP/VOLUME@WISH@WISH". No name of a group or volume has an "@", so a
// name without wishes is the volume itself, as every client knows it.
//
//   @ro                 read only
//   @direct             only if this very site serves it: another one refuses instead of passing the connection on
//   @attach=USER.N      as @direct, for `tercet attach`: connection number N of this user, which ends those of lower numbers

import type { Attachment } from './handshake.ts';

/** What a name asks for. */
export interface ExportWishes {
  /** The name without wishes. */
  readonly name: string;
  readonly readOnly: boolean;
  readonly direct: boolean;
  readonly attachment: Attachment | null;
}

const ATTACH = /^attach=([0-9a-zA-Z-]{8,64})\.([0-9]{1,15})$/;

/** Takes a name apart; a sentence about what is wrong when a wish is not known. */
export function readExportName(text: string): ExportWishes | { readonly wrong: string } {
  const [name = '', ...wishes] = text.split('@');
  let readOnly = false;
  let direct = false;
  let attachment: Attachment | null = null;
  for (const wish of wishes) {
    const attach = ATTACH.exec(wish);
    if (wish === 'ro') readOnly = true;
    else if (wish === 'direct') direct = true;
    else if (attach !== null) attachment = { user: attach[1] as string, generation: Number(attach[2]) };
    else return { wrong: `"@${wish}" is not known here: an export may be asked for with @ro` };
  }
  return { name, readOnly, direct: direct || attachment !== null, attachment };
}

/** The name by which `tercet attach` asks. */
export function attachName(name: string, attachment: Attachment): string {
  return `${name}@attach=${attachment.user}.${attachment.generation}`;
}
