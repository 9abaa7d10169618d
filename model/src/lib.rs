//! ALBERT: configuration, embeddings, encoder, heads, names of its parameters in files.
