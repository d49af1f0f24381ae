//! placet-package
