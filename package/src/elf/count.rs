//! How many dynamic symbols a file has.

use object::Endianness;
use object::elf::{self, GnuHashHeader, HashHeader};
use object::endian::U32;
use object::pod;
use object::read::elf::FileHeader;

use super::dynamic::Dynamic;
use super::headers::{absurd, slice};
use super::relocations;
use super::{ElfError, Image};

/// How many dynamic symbols there are. No header says it: it is what the hash tables and the
/// relocations, through which the loader comes to symbols, lead to.
pub(super) fn count<Elf>(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Result<u64, ElfError>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let counts = [
        hash_count(image, dynamic)?,
        gnu_hash_count(image, dynamic)?,
        last_relocated::<Elf>(image, dynamic)?,
        mips_count(image, dynamic),
    ];
    Ok(counts.into_iter().max().unwrap_or(0))
}

fn mips_count(image: &Image<'_>, dynamic: &Dynamic<'_>) -> u64 {
    let count = dynamic.value(elf::DT_MIPS_SYMTABNO);
    count.filter(|_| image.machine == elf::EM_MIPS).unwrap_or(0)
}

fn hash_count(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Result<u64, ElfError> {
    // These two have words of 64 bits here; they bring a GNU hash table too.
    let wide = image.is_64 && matches!(image.machine, elf::EM_S390 | elf::EM_ALPHA);
    let Some(address) = dynamic.value(elf::DT_HASH).filter(|_| !wide) else {
        return Ok(0);
    };
    let what = "the hash table (DT_HASH)";
    let bytes = image.at(address, size_of::<HashHeader<Endianness>>() as u64, what)?;
    let header: &[HashHeader<Endianness>] = slice(bytes, 0, 1, what)?;
    let buckets = u64::from(header[0].bucket_count.get(image.endian));
    let chains = u64::from(header[0].chain_count.get(image.endian));
    image.at(address, 8 + 4 * (buckets + chains), what)?;
    Ok(chains)
}

fn gnu_hash_count(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Result<u64, ElfError> {
    let Some(address) = dynamic.value(elf::DT_GNU_HASH) else {
        return Ok(0);
    };
    let (what, endian) = ("the hash table (DT_GNU_HASH)", image.endian);
    let head = size_of::<GnuHashHeader<Endianness>>() as u64;
    let bytes = image.at(address, head, what)?;
    let header: &[GnuHashHeader<Endianness>] = slice(bytes, 0, 1, what)?;
    let base = u64::from(header[0].symbol_base.get(endian));
    let buckets = u64::from(header[0].bucket_count.get(endian));
    let word = if image.is_64 { 8 } else { 4 };
    let buckets_at = head + word * u64::from(header[0].bloom_count.get(endian));
    let table: &[U32<Endianness>] = slice(bytes, buckets_at, buckets, what)?;
    let last = table.iter().map(|bucket| bucket.get(endian)).max();
    let last = u64::from(last.unwrap_or(0));
    if last == 0 {
        return Ok(base);
    }
    let first = last.checked_sub(base).ok_or_else(|| {
        absurd(
            what,
            last,
            "a bucket names a symbol before the first hashed one",
        )
    })?;
    let chains = bytes.get(index(buckets_at + 4 * (buckets + first))..);
    let chains = chains.unwrap_or(&[]);
    let (chains, _) = pod::slice_from_bytes::<U32<Endianness>>(chains, chains.len() / 4)
        .map_err(|()| absurd(what, first, "its chains are unreadable"))?;
    let end = chains.iter().position(|value| value.get(endian) & 1 != 0);
    let end = end.ok_or_else(|| absurd(what, last, "its last chain does not end"))?;
    Ok(last + end as u64 + 1)
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn last_relocated<Elf>(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Result<u64, ElfError>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let mut last = 0;
    relocations::visit::<Elf>(image, dynamic, |symbol, _| last = last.max(symbol))?;
    Ok(if last == 0 { 0 } else { u64::from(last) + 1 })
}
