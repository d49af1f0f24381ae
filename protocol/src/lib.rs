//! placet-protocol
