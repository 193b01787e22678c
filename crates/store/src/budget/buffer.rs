//! Memory of the budget that bytes pass through: from the heap if it is little, else in blocks that
//! are used again and again.
//!
//! # Promises
//! * Blocks kept for reuse and memory in use stay below the budget together.
//! * Blocks go back to the system when nobody uses one any more.
//! * Blocks begin at a page, as reads past the page cache need it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use memmap2::MmapMut;

use super::Share;

/// Bytes of a block, which is what is read at once: few enough that a core's cache still holds it when it
/// is hashed, and that a database's own reads need not wait long behind it.
pub(crate) const BLOCK: usize = 256 * 1024;

/// From here on memory comes in blocks, in bytes.
pub(crate) const LARGE: usize = BLOCK / 2;

/// Contiguous memory: a block, or less. What is in it at first is anybody's guess.
///
/// It goes back when the buffer is dropped, or the last clone of the [`Bytes`] made of it.
#[derive(Debug)]
pub(crate) struct Buffer {
    space: Space,
    bytes: usize,
    _share: Option<Share>,
}

#[derive(Debug)]
enum Space {
    Heap(Vec<u8>),
    Block(Block),
}

/// The memory that buffers of `bytes` take.
pub(super) fn size(bytes: usize) -> usize {
    match bytes {
        0..LARGE => bytes,
        _ => bytes.next_multiple_of(BLOCK),
    }
}

/// Buffers of at least `bytes` together, each with its part of `share`.
pub(super) fn cut(bytes: usize, mut share: Option<Share>, blocks: &Arc<Blocks>) -> Vec<Buffer> {
    if bytes < LARGE {
        let space = Space::Heap(vec![0; bytes]);
        return vec![Buffer::new(space, share)];
    }
    let count = bytes.div_ceil(BLOCK);
    let block = |_| {
        let part = share.as_mut().and_then(|share| share.split(BLOCK));
        Buffer::new(Block::take(blocks), part)
    };
    (0..count).map(block).collect()
}

impl Buffer {
    fn new(space: Space, share: Option<Share>) -> Self {
        Self {
            space,
            bytes: 0,
            _share: share,
        }
    }

    /// The whole buffer, to be filled.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        match &mut self.space {
            Space::Heap(space) => space,
            Space::Block(block) => block.map.as_deref_mut().expect("there until dropped"),
        }
    }

    /// The first `bytes` of it, to be sent.
    pub(crate) fn filled(mut self, bytes: usize) -> Bytes {
        self.bytes = bytes.min(self.space().len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        match &self.space {
            Space::Heap(space) => &space[..self.bytes],
            Space::Block(block) => {
                &block.map.as_deref().expect("there until dropped")[..self.bytes]
            }
        }
    }
}

/// The blocks of a process.
#[derive(Debug, Default)]
pub(super) struct Blocks(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    idle: Vec<MmapMut>,
    used: usize,
}

impl Blocks {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps at most `bytes` of idle blocks.
    pub(super) fn trim(&self, bytes: u64) {
        let most = usize::try_from(bytes / BLOCK as u64).unwrap_or(usize::MAX);
        let mut kept = self.lock();
        let most = most.min(kept.idle.len());
        let gone = kept.idle.split_off(most);
        drop(kept);
        drop(gone);
    }

    /// How many are idle, and how many in use.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let kept = self.lock();
        (kept.idle.len(), kept.used)
    }
}

/// A block in use.
#[derive(Debug)]
struct Block {
    map: Option<MmapMut>,
    blocks: Arc<Blocks>,
}

impl Block {
    fn take(blocks: &Arc<Blocks>) -> Space {
        let idle = {
            let mut kept = blocks.lock();
            kept.used += 1;
            kept.idle.pop()
        };
        let block = Self {
            map: idle.or_else(|| MmapMut::map_anon(BLOCK).ok()),
            blocks: Arc::clone(blocks),
        };
        match block.map {
            Some(_) => Space::Block(block),
            // This process may have no more mappings, but its allocator may have memory still.
            None => Space::Heap(vec![0; BLOCK]),
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut gone = Vec::new();
        let mut kept = self.blocks.lock();
        kept.used -= 1;
        kept.idle.extend(self.map.take());
        if kept.used == 0 {
            std::mem::swap(&mut gone, &mut kept.idle);
        }
        drop(kept);
        drop(gone);
    }
}
