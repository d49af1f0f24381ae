//! The package format on real parts: files that gcc and binutils made, layouts on disk.

#[cfg(test)]
mod composite;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod elf;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod layout;
#[cfg(test)]
mod proportion;
#[cfg(test)]
mod readelf;
#[cfg(test)]
mod removal;
#[cfg(test)]
mod signature;
#[cfg(test)]
mod signature_of_objects;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod tools;
