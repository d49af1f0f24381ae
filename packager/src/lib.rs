//! placet-packager
