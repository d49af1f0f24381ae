//! placet-sdk
