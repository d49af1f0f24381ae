//! placet-node-daemon
