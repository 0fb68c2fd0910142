//! Builds what clients and load balancers send: PROXY headers, ClientHellos, records. Valid by default, so that a
//! test names only what it bends. Shared by the tests of the parsers and those through real sockets.

pub const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
pub const LOCAL: u8 = 0x20;
pub const PROXY: u8 = 0x21;
pub const TCP4: u8 = 0x11;
pub const TCP6: u8 = 0x21;

/// Any header, its length field reported truly.
pub fn proxy(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = [SIGNATURE, &[command, family], &u16::try_from(rest.len()).unwrap().to_be_bytes()].concat();
    header.extend_from_slice(rest);
    header
}

/// 192.0.2.1:40000 → 198.51.100.2:443, and these TLVs.
pub fn tcp4(tlvs: &[u8]) -> Vec<u8> {
    proxy(PROXY, TCP4, &[&[192, 0, 2, 1, 198, 51, 100, 2, 0x9c, 0x40, 0x01, 0xbb], tlvs].concat())
}

/// `[2001:db8::1]:40000` → `[2001:db8::2]:443`, and these TLVs.
pub fn tcp6(tlvs: &[u8]) -> Vec<u8> {
    let address = |last| [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    proxy(PROXY, TCP6, &[&address(1), &address(2), &[0x9c, 0x40, 0x01, 0xbb][..], tlvs].concat())
}

/// One TLV of a PROXY header.
pub fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// The TLV in which a load balancer names the VPC endpoint.
pub fn endpoint_tlv(id: &[u8]) -> Vec<u8> {
    tlv(0xea, &[&[1], id].concat())
}

/// Fills in the value of the first CRC32C TLV, which must stand right after the addresses and be zero.
pub fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
    let at = header.windows(7).position(|tlv| tlv == [3, 0, 4, 0, 0, 0, 0]).unwrap() + 3;
    let sum = crc32c::crc32c(&header).to_be_bytes();
    header[at..at + 4].copy_from_slice(&sum);
    header
}

/// A header as a Network Load Balancer sends it for a client behind a VPC endpoint; its checksum was not computed
/// by this program, so that the byte order and the extent of ours are tested against it.
pub fn captured_nlb() -> Vec<u8> {
    let mut header = proxy(PROXY, TCP4, &[0; 84]);
    let bytes = [
        &[172, 31, 7, 113, 172, 31, 10, 31, 0xc8, 0xf2, 0, 80][..],
        &[3, 0, 4, 0xe8, 0xd6, 0x89, 0x2d, 0xea, 0, 23, 1],
        b"vpce-08d2bf15fac5001c9",
        &[4, 0, 36],
    ]
    .concat();
    header[16..16 + bytes.len()].copy_from_slice(&bytes);
    header
}

/// NLB's health check: TCP over IPv4 by its family byte, TLVs where the addresses would be.
pub fn nlb_health_check() -> Vec<u8> {
    with_checksum(proxy(LOCAL, TCP4, &[tlv(3, &[0; 4]), tlv(4, &[0; 74])].concat()))
}

/// The name that every resolver knows and every list admits.
pub const ORDERS: &[u8] = b"orders.example.com";

pub const GREASE: u16 = 0x3a3a;

/// A ClientHello in parts.
#[derive(Clone)]
pub struct Hello {
    pub version: [u8; 2],
    pub session_id: Vec<u8>,
    pub ciphers: Vec<u8>,
    pub compression: Vec<u8>,
    /// `None`: not even the length of the list.
    pub extensions: Option<Vec<(u16, Vec<u8>)>>,
}

impl Default for Hello {
    fn default() -> Self {
        Self {
            version: [3, 3],
            session_id: vec![7; 32],
            ciphers: vec![0x13, 0x01, 0x13, 0x02, 0xc0, 0x2f],
            compression: vec![0],
            extensions: Some(vec![]),
        }
    }
}

impl Hello {
    /// What a TLS 1.3 client sends for a name.
    pub fn to(name: &[u8]) -> Self {
        Self::default().with(0, sni(name)).with(43, vec![4, 3, 4, 3, 3]).with(51, key_shares(&[(0x1d, 32)]))
    }

    /// Like a browser's: GREASE, post-quantum key share, ECH, ALPN, the server_name at the end.
    pub fn browser(name: &[u8]) -> Self {
        let grease = [&GREASE.to_be_bytes()[..], &[0x13, 1, 0x13, 2]].concat();
        Self { ciphers: grease, ..Self::default() }
            .with(GREASE, vec![])
            .with(51, key_shares(&[(GREASE, 1), (0x11ec, 1216), (0x1d, 32)]))
            .with(0xfe0d, vec![9; 250])
            .with(16, alpn(&[&GREASE.to_be_bytes(), b"h2", b"http/1.1"]))
            .with(0, sni(name))
            .with(0x7a7a, vec![0])
    }

    /// With one more extension.
    pub fn with(mut self, kind: u16, data: Vec<u8>) -> Self {
        self.extensions.get_or_insert_default().push((kind, data));
        self
    }

    /// With its handshake header.
    pub fn message(&self) -> Vec<u8> {
        handshake(1, &self.body())
    }

    /// Without its handshake header.
    pub fn body(&self) -> Vec<u8> {
        let mut body = [&self.version[..], &[0x55; 32]].concat();
        body.extend(vec8(&self.session_id));
        body.extend(vec16(&self.ciphers));
        body.extend(vec8(&self.compression));
        if let Some(extensions) = &self.extensions {
            let list = extensions.iter().map(|(kind, data)| [&kind.to_be_bytes()[..], &vec16(data)].concat());
            body.extend(vec16(&list.collect::<Vec<_>>().concat()));
        }
        body
    }

    /// In one record.
    pub fn record(&self) -> Vec<u8> {
        record(&self.message())
    }
}

/// A ClientHello for [`ORDERS`].
pub fn hello() -> Vec<u8> {
    Hello::to(ORDERS).record()
}

/// What a client of 192.0.2.1 sends first through the load balancer, asking for [`ORDERS`].
pub fn opening() -> Vec<u8> {
    [tcp4(&[]), hello()].concat()
}

/// A handshake message of this kind.
pub fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], body].concat()
}

/// One TLS record of type handshake.
pub fn record(fragment: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &vec16(fragment)].concat()
}

/// A message cut into records of this many bytes.
pub fn records(message: &[u8], each: usize) -> Vec<u8> {
    message.chunks(each).map(record).collect::<Vec<_>>().concat()
}

/// A server_name extension with one host name.
pub fn sni(name: &[u8]) -> Vec<u8> {
    names(&[(0, name)])
}

/// A server_name extension with these entries, each with its type.
pub fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    vec16(&names.iter().map(|(kind, name)| [&[*kind][..], &vec16(name)].concat()).collect::<Vec<_>>().concat())
}

/// An ALPN extension.
pub fn alpn(protocols: &[&[u8]]) -> Vec<u8> {
    vec16(&protocols.iter().map(|protocol| vec8(protocol)).collect::<Vec<_>>().concat())
}

/// A key_share extension: each group with the length of its share.
pub fn key_shares(shares: &[(u16, usize)]) -> Vec<u8> {
    let share = |&(group, len): &(u16, usize)| [&group.to_be_bytes()[..], &vec16(&vec![0x42; len])].concat();
    vec16(&shares.iter().map(share).collect::<Vec<_>>().concat())
}

/// With a length of one byte.
pub fn vec8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

/// With a length of two bytes.
pub fn vec16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}
