//! PTX: the text that NVRTC makes of a `.cu` file, parsed, checked and run.
