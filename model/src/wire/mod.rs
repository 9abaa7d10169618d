//! Formats on the wire that more than one reader knows: protocol buffers, the records and checksums of TensorFlow, and what
//! packed files may unpack to.

pub mod checksum;
pub mod example;
pub mod protobuf;
pub mod tfrecord;
pub mod unpacked;
