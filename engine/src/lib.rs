//! A static training engine: record a graph, differentiate it, plan it, run it.
