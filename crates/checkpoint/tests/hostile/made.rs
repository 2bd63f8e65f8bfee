//! Files made byte by byte, of forms that our own writers do not have.

/// A GGUF file of version 1 or 2: a little metadata, and one matrix of 2 by 32 numbers.
pub fn gguf(version: u32) -> Vec<u8> {
    let length = |n: u64| match version {
        1 => (n as u32).to_le_bytes().to_vec(),
        _ => n.to_le_bytes().to_vec(),
    };
    let text = |text: &str| [length(text.len() as u64), text.into()].concat();
    let mut file = [b"GGUF".to_vec(), version.to_le_bytes().into(), length(1), length(4)].concat();
    let mut put = |bytes: &[&[u8]]| file.extend(bytes.concat());
    put(&[&text("general.architecture"), &8u32.to_le_bytes(), &text("llama")]);
    put(&[&text("general.alignment"), &4u32.to_le_bytes(), &64u32.to_le_bytes()]);
    let list = [9u32.to_le_bytes(), 8u32.to_le_bytes()].concat();
    put(&[&text("tokenizer.ggml.tokens"), &list, &length(3), &text("<s>"), &text("a"), &text("中")]);
    let list = [9u32.to_le_bytes(), 5u32.to_le_bytes()].concat();
    let kinds = [3i32, 1, 1].map(i32::to_le_bytes).concat();
    put(&[&text("tokenizer.ggml.token_type"), &list, &length(3), &kinds]);
    put(&[&text("blk.0.attn_v.weight"), &2u32.to_le_bytes(), &length(32), &length(2)]);
    put(&[&1u32.to_le_bytes(), &0u64.to_le_bytes()]);
    file.resize(file.len().next_multiple_of(64), 0);
    // 1.0 in sixteen bits.
    file.extend([0x00, 0x3c].repeat(64));
    file
}

/// A SentencePiece model of these pieces, that merges pairs: protocol buffers by hand.
pub fn sentencepiece(pieces: &[&str]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [vec![number << 3 | 2], varint(bytes.len()), bytes.into()].concat();
    let mut file = Vec::new();
    for (place, text) in pieces.iter().enumerate() {
        let kind = if place == 0 { 2 } else { 1 };
        let score = [vec![2 << 3 | 5], (-(place as f32)).to_le_bytes().into()].concat();
        file.extend(field(1, &[field(1, text.as_bytes()), score, vec![3 << 3, kind]].concat()));
    }
    file.extend(field(2, &[3 << 3, 2]));
    // Spaces are kept as they are.
    file.extend(field(3, &[4 << 3, 0]));
    file
}

fn varint(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n > 0x7f {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

/// A safetensors file of nothing but a header, padded, and zeros.
pub fn safetensors(header: &str, bytes: usize) -> Vec<u8> {
    let mut header = header.as_bytes().to_vec();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; bytes]].concat()
}
