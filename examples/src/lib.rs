//! placet-examples
