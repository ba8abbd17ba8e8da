// One group's copy at one site: the base images, the sidefile in front of them, the overlay between, and the superblock that says how they fit
// together after a crash. It is the only owner of the marks. It knows nothing of peers, roles or hosts: it is told what to append, what is
// committed and what to keep, and says what it holds.

import { assert } from '../base/assert.ts';
import { TercetError } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import { type Buffers, type Clock, DiskError, type Digests, type DiskFailure, type Journal, type Storage, type StoredFile } from '../base/ports.ts';
import { assertHistory, epochOf, type EpochStart, type History, inHistory, type Position } from '../base/position.ts';
import { BLOCK_BYTES, type Epoch, type Millis, type Seq, type SiteName, type VolumeIndex, type WallMillis } from '../base/units.ts';
import { type FrameView, readFrame, subFrame } from '../record/decode.ts';
import { encodeFrame, frameBytes, type NewRecord } from '../record/encode.ts';
import { viewOwnFrame } from '../record/decode.ts';
import { alignRecord, isAligned } from './align.ts';
import { Background } from './background.ts';
import { type ImageContent, type ImageRange, nextImage, writeImage } from './copy.ts';
import { destage, type DestageEffect, enterRecords, recordCost } from './destage.ts';
import { assertMarks, type Marks } from './marks.ts';
import { Overlay } from './overlay.ts';
import { Reader, type VolumeExtent } from './read.ts';
import { type FrameRun, type Sidefile, SidefileDamage } from './sidefile.ts';
import type { Superblock, SuperblockValue } from './superblock.ts';
