//! Batches written and read back, and the golden bytes of docs/format/row-batch.md.

use twill_engine::CellRef;

use super::*;
use crate::parameters::Block;

const CELLS: [CellRef<'static>; 12] = [
    CellRef::Null,
    CellRef::Integer(-1),
    CellRef::Integer((1 << 53) - 1),
    CellRef::Integer(1 << 53),
    CellRef::Integer(i64::MIN),
    CellRef::Real(-0.5),
    CellRef::Real(3.0),
    CellRef::Text(b"ascii"),
    CellRef::Text("gr\u{fc}n".as_bytes()),
    CellRef::Text(b""),
    CellRef::Blob(&[0, 255]),
    CellRef::Blob(b""),
];

fn header() -> Header {
    Header {
        flags: crate::abi::ENGINE_BATCH_MORE,
        code: 100,
        changes: 7,
        total_changes: 8,
        last_insert_rowid: -2,
        statement: 0x0102_0304,
        compiled: 1,
        parameters: 12,
    }
}

fn library_batch(rows: &[&[CellRef<'_>]]) -> Owned {
    let mut heap = Vec::new();
    let mut writer = Writer::into_library(Owned::default(), usize::MAX, &mut heap);
    for row in rows {
        assert!(writer.push(row));
    }
    let Finished::Library(batch) = writer.finish(&header()) else { panic!("in place") };
    batch
}

fn hex(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes
        .chunks(8)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    lines.join("\n") + "\n"
}

/// The bytes of a golden file.
fn golden(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn a_batch_has_the_golden_bytes() {
    let batch = library_batch(&[&CELLS, &CELLS]);
    let expected = golden("row-batch.hex");
    assert!(batch.bytes() == expected, "found:\n{}", hex(batch.bytes()));
}

#[test]
fn a_block_of_golden_bytes_has_these_values() {
    let bytes = golden("parameter-block.hex");
    // SAFETY: no cell holds an address.
    let block = unsafe { Block::new(&bytes) }.unwrap();
    let values: Vec<_> = block.values().collect();
    let expected = [
        (1, CellRef::Null),
        (2, CellRef::Integer(i64::MIN)),
        (3, CellRef::Integer(-1)),
        (9, CellRef::Real(-0.5)),
        (5, CellRef::Text("gr\u{fc}n".as_bytes())),
        (6, CellRef::Blob(&[0, 255])),
    ];
    assert_eq!(values, expected);
}

#[test]
fn cells_come_back_and_memory_of_any_size_holds_whole_rows() {
    let whole = library_batch(&[&CELLS, &CELLS, &CELLS]);
    for row in 0..3 {
        let row = super::row(whole.bytes(), row).unwrap();
        let found: Vec<_> = (0..CELLS.len()).map(|column| row.get(column).unwrap()).collect();
        assert_eq!(found, CELLS);
        assert!(row.get(CELLS.len()).is_none());
    }
    assert!(super::row(whole.bytes(), 3).is_none());
    let one = library_batch(&[&CELLS]).bytes().len();
    let two = library_batch(&[&CELLS, &CELLS]).bytes().len();
    for capacity in ENGINE_BATCH_HEADER..=whole.bytes().len() {
        let mut memory = vec![0xaa; capacity];
        let mut heap = Vec::new();
        let mut writer = Writer::into_place(&mut memory, &mut heap);
        let mut told = 0;
        while told < 3 && writer.push(&CELLS.as_slice()) {
            told += 1;
        }
        let length = writer.length();
        writer.set_columns(CELLS.len());
        assert!(matches!(writer.finish(&header()), Finished::InPlace));
        let expected = u32::from(capacity >= one)
            + u32::from(capacity >= two)
            + u32::from(capacity == whole.bytes().len());
        assert_eq!((told, super::rows(&memory)), (expected, expected), "{capacity}");
        if told == 3 {
            assert_eq!(memory, whole.bytes());
        }
        assert!(memory[length..].iter().all(|byte| *byte == 0xaa || told < 3), "{capacity}");
    }
}

#[test]
fn a_row_that_has_no_room_moves_the_batch_with_the_rows_before_it() {
    let whole = library_batch(&[&CELLS, &CELLS]);
    let mut memory = vec![0; library_batch(&[&CELLS]).bytes().len()];
    let mut heap = Vec::new();
    let mut writer = Writer::into_place(&mut memory, &mut heap);
    assert!(writer.push(&CELLS.as_slice()) && !writer.push(&CELLS.as_slice()));
    assert_eq!(writer.length_with(&CELLS.as_slice()), whole.bytes().len());
    writer.move_to_library(library_batch(&[&CELLS]), whole.bytes().len());
    assert!(writer.push(&CELLS.as_slice()) && !writer.push(&CELLS.as_slice()));
    let Finished::Library(batch) = writer.finish(&header()) else { panic!("in place") };
    assert_eq!(batch.bytes(), whole.bytes());
    point_to(&mut memory, &batch);
    assert_eq!(read_u32(&memory, 4) & ENGINE_BATCH_ELSEWHERE, ENGINE_BATCH_ELSEWHERE);
    assert_eq!(memory[56..64], (batch.address() as u64).to_le_bytes());
    assert_eq!(memory[64..72], (whole.bytes().len() as u64).to_le_bytes());
}

#[test]
fn blocks_that_are_wrong_are_refused() {
    let cell = |tag: u8, length: u32, payload: u64| {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0, tag, 0, 0, 0];
        bytes.extend(length.to_le_bytes());
        bytes.extend(payload.to_le_bytes());
        bytes.extend(b"\xff\x00");
        bytes
    };
    let wrong: [(Vec<u8>, &str); 12] = [
        (vec![], "shorter"),
        (vec![1, 0, 0, 0, 0, 0, 0, 0], "shorter"),
        (vec![255, 255, 255, 255, 0, 0, 0, 0], "shorter"),
        (cell(0, 0, 0), "tag 0x00"),
        (cell(0x21, 0, 0), "tag 0x21"),
        (cell(0x11, 0, 0.5_f64.to_bits()), "no integer"),
        (cell(0x11, 0, f64::NAN.to_bits()), "no integer"),
        (cell(0x11, 0, 9_007_199_254_740_992_f64.to_bits()), "no integer"),
        (cell(0x03, 1, 24), "UTF-8"),
        (cell(0x04, 3, 24), "beyond"),
        (cell(0x13, 1, u64::MAX), "beyond"),
        (cell(0x24, 1, 0), "NULL"),
    ];
    for (bytes, expected) in wrong {
        // SAFETY: the only address is NULL.
        let refusal = unsafe { Block::new(&bytes) }.unwrap_err();
        assert!(refusal.code == 21 && refusal.message.contains(expected), "{}", refusal.message);
    }
    for right in [cell(0x03, 1, 25), cell(0x23, 0, 0)] {
        // SAFETY: an address of no bytes is not followed.
        assert!(unsafe { Block::new(&right) }.is_ok());
    }
}

#[test]
fn lent_memory_is_freed_once_and_nothing_else_is() {
    let (first, second) = (lend(Owned::default()), lend(Owned::from_bytes(b"second")));
    assert_ne!(first, second);
    free(first);
    free(first);
    free(std::ptr::null());
    free(second.wrapping_add(1));
    assert!(LENT.lock().unwrap().contains_key(&second.addr()));
    free(second);
    assert!(!LENT.lock().unwrap().contains_key(&second.addr()));
}
