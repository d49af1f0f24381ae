//! placet-tests
