//! placet-crds
