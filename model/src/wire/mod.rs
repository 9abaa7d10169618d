//! Formats on the wire that more than one reader knows: protocol buffers, and the records and checksums of TensorFlow.

pub mod checksum;
pub mod example;
pub mod protobuf;
pub mod tfrecord;
