// The making and opening of a site's own copy: what is done before there is a replica to speak of.

import { createReplica, openReplica, type Opened } from '../replica/open.ts';
import { failureError, type ReplicaOptions } from '../replica/options.ts';
import type { SiteOptions } from './contract.ts';
import { replicaOptionsOf } from './replica-options.ts';

/** What the site does about its copy. */
export interface CopyOwner {
  /** The copy has become durable further. */
  durable(): void;
  /** Its disk has failed. */
  failed(reason: string): void;
  /** Opening has ended, one way or another. */
  opened(opened: Opened): void;
  /** Whether the site still waits for a copy. */
  absent(): boolean;
}

export class OwnCopy {
  readonly #options: SiteOptions;
  readonly #owner: CopyOwner;
  /** An empty replica is being made and opened. */
  #creating = false;

  constructor(options: SiteOptions, owner: CopyOwner) {
    this.#options = options;
    this.#owner = owner;
  }

  /** Options of a replica of the group with that id; '' when it is not known, then any is taken. */
  options(groupId: string): ReplicaOptions {
    return replicaOptionsOf(this.#options, groupId, this.#owner);
  }

  /** Opens what is in the data folder; the owner is told what that is. */
  open(): void {
    openReplica(this.options(''), (opened) => {
      this.#creating = false;
      this.#owner.opened(opened);
    });
  }

  /** Makes an empty replica that is marked inconsistent, to be filled by the primary, and opens it. */
  createEmpty(groupId: string, agreedBytes: readonly number[] | undefined): void {
    if (this.#creating) return;
    this.#creating = true;
    createReplica(this.options(groupId), { consistent: false, agreedBytes }, (failure) => {
      if (failure !== null) return this.#owner.failed('why' in failure ? failure.why : failureError(failure).message);
      if (this.#owner.absent()) this.open();
    });
  }
}
