//! Work space of kernels: what lies there is gone with the next call that asks for some.
//!
//! A runtime reserves what its plans need, by their capacities, before anything runs. Without that, for those who call kernels one
//! by one, it grows.

use std::sync::PoisonError;

use super::memory::{Address, Buffer};
use super::{Cuda, Global};
use crate::backend::Backend;
use crate::memory::{DeviceError, Memory};

/// Work space of the kernels of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scratch {
    pub(super) address: Address,
}

/// What calls share.
#[derive(Default)]
pub(super) struct WorkSpace {
    /// The last is in use. Those before it were too small; what was asked for and not done yet may use them.
    spaces: Vec<Buffer>,
    /// Whether it stays as large as it is.
    is_reserved: bool,
}

impl WorkSpace {
    fn bytes(&self) -> usize {
        self.spaces.last().map_or(0, Global::bytes)
    }
}

impl Cuda {
    /// Work space for one call.
    pub(crate) fn scratch(&self, bytes: usize) -> Scratch {
        let mut space = self.work_space.lock().unwrap_or_else(PoisonError::into_inner);
        if space.bytes() < bytes {
            match space.is_reserved {
                true => self.fail(DeviceError::Failed {
                    device: format!("{self:?}"),
                    what: format!("a kernel that wants {bytes} bytes of work space"),
                    error: format!("{} were planned, which is a mistake of this program's", space.bytes()),
                }),
                false => match self.allocate(bytes) {
                    Ok(larger) => space.spaces.push(larger),
                    Err(error) => self.fail(error),
                },
            }
        }
        Scratch { address: space.spaces.last().map_or(0, |space| space.address(0, 0)) }
    }

    /// See [`Backend::reserve`].
    pub(super) fn reserve_work_space(&self, bytes: usize) -> Result<(), DeviceError> {
        let mut space = self.work_space.lock().unwrap_or_else(PoisonError::into_inner);
        if space.bytes() < bytes {
            // A buffer waits for what uses it when it is dropped.
            space.spaces = vec![self.allocate(bytes)?];
        }
        space.is_reserved = true;
        Ok(())
    }
}
