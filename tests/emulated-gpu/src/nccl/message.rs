//! What ranks send each other over their sockets: a greeting, then parts of collectives, and why they leave.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::collective::Call;

/// What a rank says of itself when it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Its number.
    pub rank: u32,
    /// How many ranks it was told of.
    pub size: u32,
    /// Which of the machine's devices it has.
    pub gpu: u32,
}

impl Greeting {
    /// Bytes of it.
    pub const BYTES: usize = 12;

    /// As it is sent.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (place, number) in bytes.chunks_exact_mut(4).zip([self.rank, self.size, self.gpu]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// As it was sent.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let (numbers, _) = bytes.as_chunks();
        let [rank, size, gpu] = [0, 1, 2].map(|index| u32::from_le_bytes(numbers[index]));
        Self { rank, size, gpu }
    }
}

/// What a connected rank sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Its part of a collective.
    Part {
        /// Which of the communicator's collectives, counted from 0.
        sequence: u64,
        /// The part.
        part: Part,
    },
    /// It takes no further part, for a reason.
    Leaving(String),
}

/// A rank's part of a collective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it called.
    pub call: Call,
    /// What it gives: nothing where the others need nothing of it.
    pub bytes: Arc<[u8]>,
}

const PART: u8 = 1;
const LEAVING: u8 = 2;

impl Message {
    /// Sends it whole.
    pub fn send(&self, mut to: &UnixStream) -> io::Result<()> {
        let mut head = Vec::with_capacity(64);
        let body: &[u8] = match self {
            Self::Part { sequence, part } => {
                head.push(PART);
                head.extend(sequence.to_le_bytes());
                head.extend(part.call.encode());
                &part.bytes
            }
            Self::Leaving(reason) => {
                head.push(LEAVING);
                reason.as_bytes()
            }
        };
        head.extend((body.len() as u64).to_le_bytes());
        to.write_all(&head)?;
        to.write_all(body)
    }

    /// The next one; `None` where the other end is gone.
    pub fn receive(mut from: &UnixStream) -> Option<Self> {
        let [kind] = take(&mut from)?;
        match kind {
            PART => {
                let sequence = u64::from_le_bytes(take(&mut from)?);
                let call = Call::decode(take(&mut from)?)?;
                Some(Self::Part { sequence, part: Part { call, bytes: body(&mut from)?.into() } })
            }
            LEAVING => Some(Self::Leaving(String::from_utf8_lossy(&body(&mut from)?).into_owned())),
            _ => None,
        }
    }
}

fn take<const BYTES: usize>(from: &mut impl Read) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    from.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn body(from: &mut impl Read) -> Option<Vec<u8>> {
    let length = u64::from_le_bytes(take(from)?);
    let mut bytes = Vec::new();
    let read = from.take(length).read_to_end(&mut bytes).ok()?;
    (read as u64 == length).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nccl::collective::Kind;
    use crate::nccl::reduction::{Element, Reduction};

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let (one, other) = UnixStream::pair().unwrap();
        let greeting = Greeting { rank: 1, size: 3, gpu: 7 };
        assert_eq!(Greeting::decode(greeting.encode()), greeting);
        let call = Call {
            kind: Kind::AllReduce,
            count: 3,
            element: Element::Bfloat16,
            reduction: Some(Reduction::Avg),
            root: None,
        };
        let rooted = Call { kind: Kind::Broadcast, reduction: None, root: Some(2), ..call };
        let messages = [
            Message::Part { sequence: 5, part: Part { call, bytes: [1, 2, 3, 4, 5, 6].into() } },
            Message::Part { sequence: u64::MAX, part: Part { call: rooted, bytes: [].into() } },
            Message::Leaving("of its own will".into()),
        ];
        for message in &messages {
            message.send(&one).unwrap();
        }
        drop(one);
        for message in messages {
            assert_eq!(Message::receive(&other), Some(message));
        }
        assert_eq!(Message::receive(&other), None);
    }
}
