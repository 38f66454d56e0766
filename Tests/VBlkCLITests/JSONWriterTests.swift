import Testing

@testable import VBlkCLI

@Suite("JSON writer")
struct JSONWriterTests {
  @Test("nests, separates and escapes")
  func writes() {
    let text = JSONWriter.object { root in
      root.value("schema", "vblk.test/1")
      root.array("list") { list in
        list.value(nil, 1)
        list.object { $0.value("a", true) }
        list.array { _ in }
      }
      root.value("text", "a\"b\\c\nd\u{1}é")
      root.value("none", nil as String?)
    }
    #expect(
      text == """
        {"schema":"vblk.test/1","list":[1,{"a":true},[]],"text":\
        "a\\"b\\\\c\\nd\\u0001é","none":null}

        """)
  }

  @Test("integers are whole, whatever their size; no number is null")
  func numbers() {
    let text = JSONWriter.object { root in
      root.value("max", UInt64.max)
      root.value("min", Int64.min)
      root.value("half", 0.5)
      root.value("nan", Double.nan)
      root.value("infinite", -Double.infinity)
    }
    #expect(
      text == """
        {"max":18446744073709551615,"min":-9223372036854775808,"half":0.5,\
        "nan":null,"infinite":null}

        """)
  }
}
