//! placet-controller
